"""Proxies on a site's own address, each with a recipe of docs/beacon.md: nginx, Caddy, a Cloudflare Worker, Vercel.

The first two are Debian's programs. The worker runs in workerd, Cloudflare's own runtime, with nothing of Cloudflare
in front of it: CF-Connecting-IP, which their edge sets on each request, is the caller's to send. Vercel's routes are
only compiled, by Vercel's own package.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

from tests import npm
from tests.servers.process import HOST

_HERE = Path(__file__).parent
_COMPILE = """
const { getTransformedRoutes, routesSchema: schema } = require('@vercel/routing-utils')
console.log(JSON.stringify({ schema, ...getTransformedRoutes(JSON.parse(process.argv[1])) }))
"""
_WORKER = """
using Workerd = import "/workerd/workerd.capnp";
const config :Workerd.Config = (
  services = [
    (name = "worker", worker = (
      modules = [(name = "worker", esModule = embed "worker.js")],
      compatibilityDate = "2026-11-01", globalOutbound = "upstream",
    )),
    (name = "upstream", external = (address = "UPSTREAM", http = ())),
  ],
  sockets = [(name = "http", address = "HOST:PORT", http = (), service = "worker")],
);
"""


def available(name: str) -> str:
    """Empty when the proxy can be started here, else what to install."""
    package = {"nginx": "nginx-light", "caddy": "caddy"}.get(name)
    return f"apt-get install {package}" if package and not shutil.which(name) else ""


def nginx(folder: Path, recipe: str, port: int, upstream: str) -> list[str]:
    """What to start for an nginx on `port`; `upstream` is the tracking port's HOST:PORT.

    What a recipe has before its first location belongs beside the server."""
    beside, location, inside = _at(recipe, upstream).partition("location")
    temporary = "".join(
        f"{name}_temp_path {folder}/{name};" for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    (folder / "nginx.conf").write_text(
        f"daemon off; pid {folder}/pid; {'user root;' if os.geteuid() == 0 else ''} events {{}}\n"
        f"http {{ access_log off; {temporary} \n{beside} server {{ listen {HOST}:{port};\n{location}{inside} }} }}"
    )
    return ["nginx", "-p", str(folder), "-e", f"{folder}/error.log", "-c", f"{folder}/nginx.conf"]


def caddy(folder: Path, recipe: str, port: int, upstream: str) -> list[str]:
    """As `nginx`."""
    options = f"{{\nadmin off\nstorage file_system {folder}\n}}"
    (folder / "Caddyfile").write_text(f"{options}\nhttp://:{port} {{\nbind {HOST}\n{_at(recipe, upstream)}}}\n")
    return ["caddy", "run", "--config", f"{folder}/Caddyfile"]


def cloudflare(folder: Path, recipe: str, port: int, upstream: str) -> list[str]:
    """As `nginx`. Wherever the worker sends a request, it goes to `upstream`."""
    (folder / "worker.js").write_text(recipe)
    config = _WORKER.replace("UPSTREAM", upstream).replace("HOST:PORT", f"{HOST}:{port}")
    (folder / "worker.capnp").write_text(config)
    (program,) = npm.installed(_HERE).glob("@cloudflare/workerd-*/bin/workerd")
    return [str(program), "serve", f"{folder}/worker.capnp"]


def vercel(recipe: str) -> dict[str, Any]:
    """What Vercel makes of a `vercel.json`: `routes`, `error`, and the `schema` that its `routes` must meet."""
    npm.installed(_HERE)
    line = [*npm.NODE, "-e", _COMPILE, recipe]
    done = subprocess.run(line, cwd=_HERE, env=npm.environment(), capture_output=True, text=True, check=True)
    return dict(json.loads(done.stdout))


def _at(recipe: str, upstream: str) -> str:
    assert "127.0.0.1:8420" in recipe
    return recipe.replace("127.0.0.1:8420", upstream)
