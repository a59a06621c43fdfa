"""Mail over a real server: plain, STARTTLS, TLS, with a login, and what goes wrong, in words."""

from __future__ import annotations

from email.message import EmailMessage
from pathlib import Path

import pytest

from infra.mail import Mailer, Unmailed
from infra.settings import BadSettings, Settings
from tests.mailbox import NAME, PASSWORD, Mailbox, free_port, serving
from tests.servers import kafka_secured

SENDER = "Footfall <footfall@example.com>"


@pytest.fixture
def box() -> Mailbox:
    return Mailbox(free_port())


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("certificates")
    kafka_secured.make_certificates(folder)
    return folder


@pytest.fixture
def trusted(certificates: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SSL_CERT_FILE", str(kafka_secured.files(certificates).ca))
    return certificates / "broker.pem"


def message(to: str = "ann@example.com") -> EmailMessage:
    made = EmailMessage()
    made["From"], made["To"], made["Subject"] = SENDER, to, "Grüße"
    made.set_content("Zahlen für Köln\n")
    return made


def test_a_message_arrives_as_it_was(box: Mailbox) -> None:
    with serving(box):
        Mailer(f"smtp://127.0.0.1:{box.port}", SENDER).send(message())
    assert box.recipients == ["ann@example.com"]
    assert box.messages[0]["Subject"] == "Grüße"
    assert box.messages[0].get_content().splitlines() == ["Zahlen für Köln"]


@pytest.mark.filterwarnings("ignore:Requiring AUTH while not requiring TLS")  # it is over TLS from the start
@pytest.mark.parametrize("scheme", ["smtp+starttls", "smtps"])
def test_over_tls_with_a_login(box: Mailbox, trusted: Path, scheme: str) -> None:
    url = f"{scheme}://{NAME}@localhost:{box.port}"
    with serving(box, trusted, login=True, tls=scheme == "smtps"):
        Mailer(url, SENDER, PASSWORD).send(message())
        with pytest.raises(Unmailed, match="refuses the login: 535") as wrong:
            Mailer(url, SENDER, "another").send(message())
    assert not wrong.value.for_good
    assert "another" not in str(wrong.value)
    assert box.encrypted == [scheme == "smtp+starttls"]  # the server tells of STARTTLS only


@pytest.mark.parametrize("scheme", ["smtp+starttls", "smtps"])
def test_a_certificate_of_a_stranger_is_not_trusted(box: Mailbox, certificates: Path, scheme: str) -> None:
    with (
        serving(box, certificates / "broker.pem", tls=scheme == "smtps"),
        pytest.raises(Unmailed, match=r"cannot be used.*certificate verify failed"),
    ):
        Mailer(f"{scheme}://localhost:{box.port}", SENDER).send(message())
    assert box.messages == []


def test_a_server_without_starttls_gets_nothing(box: Mailbox) -> None:
    with serving(box), pytest.raises(Unmailed, match="STARTTLS"):
        Mailer(f"smtp+starttls://127.0.0.1:{box.port}", SENDER).send(message())
    assert box.messages == []


@pytest.mark.parametrize(("answer", "for_good"), [("550 5.1.1 no such user", True), ("450 4.2.1 try later", False)])
def test_a_refused_recipient_is_told_in_the_servers_words(box: Mailbox, answer: str, for_good: bool) -> None:
    box.refused["gone@example.com"] = answer
    with serving(box), pytest.raises(Unmailed, match=f"refuses gone@example.com: {answer}") as refused:
        Mailer(f"smtp://127.0.0.1:{box.port}", SENDER).send(message("gone@example.com"))
    assert refused.value.for_good is for_good


def test_a_server_that_is_down_is_named(box: Mailbox) -> None:
    with pytest.raises(Unmailed, match=f"127.0.0.1:{box.port} cannot be used") as down:
        Mailer(f"smtp://127.0.0.1:{box.port}", SENDER).send(message())
    assert not down.value.for_good


@pytest.mark.parametrize(
    ("smtp", "sender", "password", "words"),
    [
        ("mail.example.com", "f@example.com", "", "needs a URL such as"),
        ("https://mail.example.com", "f@example.com", "", "needs a URL such as"),
        ("smtps://u:secret@mail.example.com", "f@example.com", "", "has a password in it"),
        ("smtps://u@mail.example.com", "f@example.com", "", "need each other"),
        ("smtp://u@mail.example.com", "f@example.com", "pw", "would send the password readable"),
        ("smtps://mail.example.com", "", "", "address that it is from"),
        ("smtps://mail.example.com", "a\r\nBcc: b@example.com", "", "address that it is from"),
        ("smtps://mail.example.com:x", "f@example.com", "", "needs a URL such as"),
        ("", "f@example.com", "", "needs --smtp"),
    ],
)
def test_settings_that_cannot_be_are_refused_in_words(
    tmp_path: Path, smtp: str, sender: str, password: str, words: str
) -> None:
    environ = {"FOOTFALL_DATA": str(tmp_path), "FOOTFALL_SMTP_PASSWORD": password} if password else {}
    with pytest.raises(BadSettings, match=words) as refused:
        Settings.load(environ, {"data": tmp_path, "smtp": smtp, "mail_from": sender})
    assert "secret" not in str(refused.value)


def test_the_password_is_of_a_variable_or_a_file_and_in_no_repr(tmp_path: Path) -> None:
    flags = {"data": tmp_path, "smtp": "smtps://u@mail.example.com", "mail_from": SENDER}
    by_variable = Settings.load({"FOOTFALL_SMTP_PASSWORD": "s3cret"}, flags)
    file = tmp_path / "password"
    file.write_text("s3cret\n", encoding="utf-8")
    by_file = Settings.load({}, flags | {"smtp_password_file": file})
    for settings in (by_variable, by_file):
        assert settings.smtp_password == "s3cret"
        assert Settings.load(settings.environment()) == settings
        assert "s3cret" not in repr(settings)
    assert "s3cret" not in str(by_file.environment())
    assert "s3cret" not in repr(Mailer("smtps://u@h", SENDER, "s3cret"))
