"""Downloads data sets from the hub."""

from __future__ import annotations

from pathlib import Path

from speechxfer.errors import UserError

HUB_PREFIX = "hub:"


def download_dataset(source: str) -> Path:
    """Download `hub:owner/name` and return its folder; `hub:owner/name/folder` downloads one configuration.

    Raises:
        UserError: if the download fails.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    parts = source.removeprefix(HUB_PREFIX).strip("/").split("/")
    repository, inside = "/".join(parts[:2]), "/".join(parts[2:])
    try:
        only = [f"{inside}/*"] if inside else None
        return Path(snapshot_download(repository, repo_type="dataset", allow_patterns=only)) / inside
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        fix = "check the name (hub:owner/name) and the network, or download it and give the folder"
        raise UserError(f"cannot be downloaded from the hub ({reason})", where=source, fix=fix) from None
