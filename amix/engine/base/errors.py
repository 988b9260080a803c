"""The one family of errors that users see: what was wrong, where, and what to do."""


class AmixError(Exception):
    """Anything that amix reports to its user: a sentence, which the CLI prints without a traceback."""

    exit_code = 1


class UsageError(AmixError):
    """An option or argument that cannot be right, whatever the data."""

    exit_code = 2


class ConfigError(UsageError):
    """A configuration file that cannot be read, or holds an unknown or impossible value."""


class HeadError(UsageError):
    """A head spec that cannot be parsed, or names a head that is not there."""


class MixingError(AmixError):
    """Ratios, relevance, labels or masks that cannot be mixed."""


class ExtractorError(AmixError):
    """An extractor folder that is damaged, incomplete or does not fit."""


class ExportError(AmixError):
    """An encoder that cannot be exported, or whose graph does not agree with it."""


class CorpusError(AmixError):
    """A corpus that cannot be read as asked."""


class ShardError(AmixError):
    """A cache that is damaged, incomplete or does not fit."""


class FetchError(AmixError):
    """A file of a remote folder that cannot be fetched, or whose bytes keep differing from its recorded hash."""


class StorageError(AmixError):
    """A disk or folder that cannot be written to: full, read-only, not permitted, failing."""


class TrainError(AmixError):
    """A training run that cannot start or go on."""


class DependencyError(AmixError):
    """An optional package that is needed and missing, with the extra that installs it."""


class DeviceError(AmixError):
    """A device that was asked for and is not available."""
