"""Text that is not UTF-8: which encoding a file is in, and its bytes as UTF-8 for the readers."""

import codecs
import io
from collections.abc import Iterable
from typing import TYPE_CHECKING, BinaryIO, cast

from amix.engine.base.errors import CorpusError, UsageError
from amix.loaders.corpus.datafile import DataFile
from amix.loaders.corpus.formats.unpacked import open_bytes, reading

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

UTF8 = "utf-8"
_MARKS = (  # of UTF-32 first, since the mark of UTF-16 is the beginning of it
    (codecs.BOM_UTF8, UTF8),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_HEAD = 4096  # bytes in which the encoding is looked for
_PIECE = 1 << 16
_SAMPLE = 1 << 16  # bytes of lines that are not UTF-8, enough to tell their language
_LINE = 1 << 12  # bytes of one of them
_WORDS = 60  # characters of it that are shown
# Among these an encoding is looked for, the commonest first: where few bytes are not ASCII, and where most are not.
_ACCENTS = ["cp1252", "cp1250", "cp1254", "mac_roman", "cp850"]
_SCRIPTS = ["cp1251", "koi8_r", "cp1253", "cp1255", "cp1256", "cp932", "euc_jp", "gb18030", "big5", "cp949"]
_UNDECODABLE = "amix.undecodable"
# Half a surrogate pair, which no UTF-8 holds: so bytes that cannot be decoded spoil their own record only.
codecs.register_error(_UNDECODABLE, lambda problem: ("\udcff", cast(UnicodeDecodeError, problem).end))


def codec_name(encoding: str) -> str:
    """Return what Python calls an encoding that the user gave. Raises UsageError for one that it does not know."""
    try:
        b"x".decode(encoding, "replace")  # else base64 and the like would pass
        name = codecs.lookup(encoding).name
    except (LookupError, ValueError):
        raise UsageError(
            f"--encoding {encoding}: Python knows no such encoding of text. Common ones are windows-1252, iso-8859-1, "
            "utf-16, gb18030, shift_jis."
        ) from None
    return UTF8 if name == "utf-8-sig" else name


def shown(encoding: str) -> str:
    """Return the common name of an encoding."""
    if encoding.startswith("cp125"):
        return f"windows-{encoding[2:]}"
    return encoding.upper() if encoding.startswith("utf") else encoding


def encoding_of(file: DataFile, given: str | None) -> str:
    """Return the encoding of a text file: what its byte order mark says, else the given one, else UTF-8.

    Raises CorpusError for a file that looks like UTF-16 without saying so.
    """
    with reading(file.path), open_bytes(file) as stream:
        head = stream.read(_HEAD)
    for mark, encoding in _MARKS:
        if head.startswith(mark):
            return encoding
    if given is not None:
        return codec_name(given)
    zeros = [head[side::2].count(0) for side in (0, 1)]
    if sum(zeros) > len(head) / 4:
        order = "be" if zeros[0] > zeros[1] else "le"
        raise CorpusError(
            f"{file.path}: looks like UTF-16 without a byte order mark. Say so with --encoding utf-16-{order}."
        )
    return UTF8


def open_utf8(file: DataFile, encoding: str) -> BinaryIO:
    """Open a text file for reading as UTF-8. Use inside `reading`. What cannot be decoded is no valid UTF-8 either."""
    stream = open_bytes(file)
    if encoding == UTF8:
        return stream
    return cast(BinaryIO, io.BufferedReader(_Recoded(stream, encoding), buffer_size=_PIECE))


class _Recoded(io.RawIOBase):
    """The text of another encoding as UTF-8."""

    def __init__(self, stream: BinaryIO, encoding: str) -> None:
        self._stream = stream
        self._decoder = codecs.getincrementaldecoder(encoding)(_UNDECODABLE)
        self._ready = memoryview(b"")
        self._over = False

    def readable(self) -> bool:
        return True

    def close(self) -> None:
        self._stream.close()
        super().close()

    def readinto(self, buffer: "WriteableBuffer", /) -> int:
        while not self._ready and not self._over:
            piece = self._stream.read(_PIECE)
            self._over = not piece
            self._ready = memoryview(self._decoder.decode(piece, self._over).encode("utf-8", "surrogatepass"))
        target = memoryview(buffer).cast("B")
        count = min(len(target), len(self._ready))
        target[:count] = self._ready[:count]
        self._ready = self._ready[count:]
        return count


def proposal(files: Iterable[DataFile]) -> str | None:
    """Return a sentence about lines that are not UTF-8: which encoding they seem to be in. None without such lines."""
    for file in files:
        bad, mixed = _foreign_lines(file)
        if not bad:
            continue
        if mixed:
            return (
                f"{file.name}: other lines with accents are UTF-8, so the file mixes encodings. Repair the lines that "
                "are not."
            )
        readings = _readings(bad)
        told = " or ".join(f"{shown(encoding)} ({words!r})" for encoding, words in readings)
        return (
            f"{file.name}: looks like {told}. If that reads right, run again with "
            f"--encoding {shown(readings[0][0]).lower()} ('amix precompute' also with --restart)."
        )
    return None


def _foreign_lines(file: DataFile) -> tuple[bytes, bool]:
    """Return lines that are not UTF-8, and whether many others are UTF-8 beyond ASCII."""
    bad: list[bytes] = []
    size = good = 0
    with reading(file.path), open_bytes(file) as stream:
        for line in stream:
            if line.isascii():
                continue
            try:
                line.decode()
            except UnicodeDecodeError:
                bad.append(line[:_LINE])
                size += len(bad[-1])
                if size > _SAMPLE:
                    break
            else:
                good += 1
    return b"".join(bad), good > len(bad) / 10  # by chance a line of another encoding may be valid UTF-8


def _readings(sample: bytes) -> list[tuple[str, str]]:
    """Return the one or two encodings that `sample` seems to be in, each with words as it reads them."""
    from charset_normalizer import from_bytes

    high = sum(byte > 127 for byte in sample)
    order = _ACCENTS if high * 4 < len(sample) else _SCRIPTS
    found = from_bytes(sample, cp_isolation=order)
    best = found.best()
    likely = {
        encoding
        for match in found
        if best is not None and (match.chaos, match.coherence) == (best.chaos, best.coherence)
        for encoding in match.could_be_from_charset
    }
    texts: dict[str, str] = {}  # encodings that read the sample alike are one
    for encoding in [each for each in order if each in likely] or _ACCENTS[:1]:
        texts.setdefault(sample.decode(encoding, "replace"), encoding)
    encodings = list(texts.values())[:2]
    lines = zip(*(text.split("\n") for text in list(texts)[:2]), strict=False)
    tell = (each for each in lines if len(set(each)) == len(encodings) and not each[0].isascii())
    telling = next(tell, tuple(texts)[:2])
    return [(encoding, _around(line)) for encoding, line in zip(encodings, telling, strict=True)]


def _around(line: str) -> str:
    """Return the words around the first character that is not ASCII."""
    first = next((place for place, character in enumerate(line) if not character.isascii()), 0)
    start = max(0, first - _WORDS // 2)
    return line[start : start + _WORDS].strip()
