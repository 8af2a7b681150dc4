import socket
from pathlib import Path

import pytest

from pipeline.errors import GraftError
from pipeline.sync import main


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(GraftError, match="no such folder") as caught:
        main([str(tmp_path / "nothing")])
    assert caught.value.exit_code == 3


def test_a_server_that_is_away_is_one_sentence_and_exit_5(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    with pytest.raises(GraftError, match=f"http://127.0.0.1:{port} refused or does not answer") as caught:
        main([str(tmp_path), "--uri", f"http://127.0.0.1:{port}"])
    assert caught.value.exit_code == 5
    assert "\n" not in str(caught.value)
