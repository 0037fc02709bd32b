"""``python -m examples.clinic``: start it, and say where."""

from __future__ import annotations

import os

import uvicorn

from .app import create_app
from .settings import Settings


def main() -> None:
    port = int(os.environ.get("CLINIC_PORT") or 8765)
    settings = Settings.of_environment()
    keys = "AWS KMS (emulated)" if settings.kms == "moto" else "a key in a file"
    where = settings.database.get_backend_name()
    print(f"The clinic on {where}, with {keys}: http://127.0.0.1:{port}  (Ctrl-C ends it)")
    uvicorn.run(create_app(settings), host="127.0.0.1", port=port, log_level="warning")


if __name__ == "__main__":
    main()
