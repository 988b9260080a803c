"""Bytes of files, decompressed on the way. A file that ends too early is an error that names it."""

import contextlib
import gzip
import io
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, cast

from amix.engine.base.errors import CorpusError
from amix.loaders.corpus.datafile import DataFile
from amix.loaders.stores import RemoteFile

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

_PIECE = 16 * 1024  # packed bytes: few, because zstd may expand them a thousandfold
_WINDOW = 2**31  # bytes: what `zstd --long=31` packs with; without it, windows beyond 128 MiB are refused
_FOLLOWED = "other bytes follow the packed data. If they mean nothing, unpack it and pack it anew; else fetch it again."


class UnpackError(OSError):
    """A whole file cannot be unpacked here; the message says why."""


@contextlib.contextmanager
def reading(path: Path | RemoteFile) -> Iterator[None]:
    """Turn errors in reading `path` into a CorpusError."""
    try:
        yield
    except (EOFError, zlib.error, gzip.BadGzipFile) as problem:
        # The beginning was looked at before, so this is about what comes later.
        if "Not a gzipped file" in str(problem):
            raise CorpusError(f"{path}: {_FOLLOWED}") from None
        raise damaged(path, problem) from None
    except UnpackError as problem:
        raise CorpusError(f"{path}: {problem}") from None
    except OSError as problem:
        raise CorpusError(
            f"{path}: cannot be read ({problem.strerror or problem}). Check the file and its permissions."
        ) from None


def damaged(path: Path | RemoteFile, problem: object) -> CorpusError:
    """Return the error for a file that is cut short or changed."""
    return CorpusError(f"{path}: the file is damaged or was cut short ({problem}). Fetch it again.")


def open_bytes(file: DataFile) -> BinaryIO:
    """Open `file` for reading, unpacked. Use inside `reading`."""
    match file.compression:
        case None:
            return file.path.open("rb")
        case "gz":
            return cast(
                BinaryIO, gzip.open(file.path if isinstance(file.path, Path) else file.path.open(), "rb")
            )
        case "zst":
            return cast(BinaryIO, io.BufferedReader(_Zstd(file.path), buffer_size=1 << 16))


class _Zstd(io.RawIOBase):
    """Unpacked bytes of a .zst file of one or more frames.

    `zstandard.ZstdDecompressor.stream_reader` ends without an error where a file is cut short; this raises EOFError.
    """

    def __init__(self, path: Path | RemoteFile) -> None:
        import zstandard

        self._error = zstandard.ZstdError
        self._open = zstandard.ZstdDecompressor(max_window_size=_WINDOW).decompressobj
        self._frame = self._open()
        self._file = path.open("rb")
        self._rest = b""  # packed bytes after the end of the last frame
        self._inside = False
        self._any = False  # a frame was read to its end
        self._ready = memoryview(b"")

    def readable(self) -> bool:
        return True

    def close(self) -> None:
        self._file.close()
        super().close()

    def readinto(self, buffer: "WriteableBuffer", /) -> int:
        while not self._ready:
            piece = self._rest or self._file.read(_PIECE)
            self._rest = b""
            if not piece:
                if self._inside:
                    raise EOFError("the last zstd frame does not end")
                return 0
            try:
                self._ready = memoryview(self._frame.decompress(piece))
            except self._error as problem:
                if self._any and "Unknown frame" in str(problem):
                    raise UnpackError(_FOLLOWED) from None
                raise _explained(str(problem)) from None
            self._inside = not self._frame.eof
            if self._frame.eof:
                self._any = True
                self._rest = self._frame.unused_data
                self._frame = self._open()
        target = memoryview(buffer).cast("B")
        count = min(len(target), len(self._ready))
        target[:count] = self._ready[:count]
        self._ready = self._ready[count:]
        return count


def _explained(problem: str) -> Exception:
    """Tell files that are whole, and cannot be unpacked for another reason, from damaged ones."""
    if "memory" in problem:
        return UnpackError(
            "was packed with a window that does not fit into the memory of this machine. Unpack it elsewhere, or "
            "pack it anew without --long."
        )
    if "Dictionary" in problem:
        return UnpackError(
            "was packed with a dictionary, which is not in the file. Unpack it with zstd -D DICTIONARY -d."
        )
    return EOFError(problem)
