"""A streaming replica of a private PostgreSQL."""

from __future__ import annotations

import signal
from pathlib import Path

import psycopg

from tests.servers.postgresql import PrivateServer, connect
from tests.servers.process import HOST, ServerProcess, free_port


class Replica:
    """Replays what its primary writes, until told to pause; gone after :meth:`stop`.

    :param binaries: the server's. :param primary: is copied, and followed.
    """

    def __init__(self, binaries: Path, primary: PrivateServer) -> None:
        self._process = ServerProcess("postgresql-replica", primary.user)
        data = self._process.directory / "data"
        try:
            source = ["-h", HOST, "-p", str(primary.url.port), "-U", "postgres"]
            copy = ["-D", str(data), "--write-recovery-conf", "--checkpoint=fast", "--no-sync"]
            self._process.run([str(binaries / "pg_basebackup"), *source, *copy])
            self.url = primary.url.set(port=free_port(), database="postgres")
            place = ["-D", str(data), "-h", HOST, "-k", "", "-p", str(self.url.port)]
            # By default it says but every ten seconds that it is no longer behind.
            settings = ["-c", "fsync=off", "-c", "wal_receiver_status_interval=1s"]
            command = [str(binaries / "postgres"), *place, *settings]
            self._process.start(command, self._answers)
        except BaseException:
            self.stop()
            raise

    def pause(self) -> None:
        """Replay nothing more; what the primary writes is still received."""
        self._call("pg_wal_replay_pause")

    def resume(self) -> None:
        """Replay again, what has come meanwhile first."""
        self._call("pg_wal_replay_resume")

    def _call(self, function: str) -> None:
        with connect(self.url) as connection:
            connection.execute(f"SELECT {function}()")

    def _answers(self) -> bool:
        try:
            connect(self.url).close()
        except psycopg.Error:
            return False
        return True

    def stop(self) -> None:
        self._process.stop(signal.SIGINT)
