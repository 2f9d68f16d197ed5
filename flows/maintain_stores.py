"""Look after everything at rest: verify it, merge small files, remove what serves nobody."""

from dataclasses import dataclass
from typing import Any

from prefect import flow, get_run_logger
from prefect.client.schemas.objects import State

from clip_adapter.settings import Settings
from tasks.collect_garbage import CollectedGarbage, collect_garbage
from tasks.compact_store import CompactedStore, compact_store
from tasks.late_runs import skip_if_late
from tasks.publish_maintenance import publish_maintenance
from tasks.verify_store import VerifiedStore, verify_store

__all__ = ["Maintained", "maintain_stores"]


@dataclass(frozen=True, kw_only=True)
class Maintained:
    """What one run of the flow found and did."""

    verified: VerifiedStore
    compacted: CompactedStore
    garbage: CollectedGarbage


@flow(name="maintain-stores", result_serializer="json")
def maintain_stores(
    *,
    root: str | None = None,
    deep: bool = True,
    repair: bool = False,
    unreferenced: bool = False,
) -> Maintained | State[Any]:
    """Verify, compact and clear up a store; other runs may read and write it meanwhile.

    Args:
        root: the folder or URL of everything at rest; else CLIP_ADAPTER_ROOT.
        deep: read every byte, else the end of each file.
        repair: set damaged files aside; the next run makes again what they held.
        unreferenced: drop features of images that no dataset's index names.
    """
    if skipped := skip_if_late():
        return skipped
    place = Settings.of(root=root).location
    verified = verify_store(root=place, deep=deep, repair=repair)
    compacted = compact_store(root=place)
    garbage = collect_garbage(root=place, unreferenced=unreferenced)
    publish_maintenance(verified, compacted, garbage)
    get_run_logger().info(
        f"{verified.n_files} files verified, {len(verified.damaged)} damaged, "
        f"{compacted.n_files_before} merged into {compacted.n_files_after}, "
        f"{garbage.n_unfinished} unfinished files removed"
    )
    verified.refuse_damage()
    return Maintained(verified=verified, compacted=compacted, garbage=garbage)
