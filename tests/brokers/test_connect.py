from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from brokers import UnknownBroker, connect, schemes
from brokers.base import Broker
from brokers.checks import hide_credentials


def test_a_typo_is_answered_with_the_nearest() -> None:
    with pytest.raises(UnknownBroker, match=r"Did you mean kafka://"):
        connect("kafak://localhost:9092")
    with pytest.raises(UnknownBroker, match="Known: " + re.escape(", ".join(f"{scheme}://" for scheme in schemes()))):
        connect("/var/lib/log")


def test_an_unknown_option_is_answered_with_the_nearest() -> None:
    with pytest.raises(ValueError, match="Did you mean 'timeout_ms'"):
        connect("sqlite:///tmp/x.db?timeout_m=1")


def test_a_missing_slash_is_named() -> None:
    with pytest.raises(ValueError, match="three slashes"):
        connect("sqlite://log.db")


def test_credentials_are_hidden() -> None:
    shown = hide_credentials("kafka://me:hunter2@h:9092?sasl_password=hunter3&acks=all")
    assert shown == "kafka://h:9092?sasl_password=***&acks=all"


def test_every_adapter_has_every_verb(tmp_path: Path) -> None:
    for url in ("memory://", f"sqlite://{tmp_path}/log.db"):
        broker = connect(url)
        assert isinstance(broker, Broker)
        broker.close()


def test_connecting_to_one_loads_no_other() -> None:
    code = (
        "import sys, brokers; brokers.connect('memory://');"
        "sys.exit(bool({'confluent_kafka', 'kafka', 'sqlite3'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_library_is_patched_when_a_client_is_made_not_when_a_module_is_imported() -> None:
    code = (
        "import logging\n"
        "from kafka.net.selector import NetworkSelector\n"
        "import brokers, brokers.kafka.kafka_python\n"
        "plain = NetworkSelector.close\n"
        "assert plain.__module__ == 'kafka.net.selector' and logging.getLogger('kafka').level == logging.NOTSET\n"
        "brokers.connect('kafka://127.0.0.1:1?client=kafka-python').close()\n"
        "once = NetworkSelector.close\n"
        "brokers.connect('kafka://127.0.0.1:1?client=kafka-python').close()\n"
        "assert once is not plain and NetworkSelector.close is once\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
