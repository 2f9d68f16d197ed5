"""Show in Prefect's UI what a maintenance run found and did."""

from prefect import task
from prefect.artifacts import create_markdown_artifact
from prefect.cache_policies import NO_CACHE

from clip_adapter.inert import inert
from tasks.collect_garbage import CollectedGarbage
from tasks.compact_store import CompactedStore
from tasks.publishing import has_audience, publishing
from tasks.verify_store import VerifiedStore

__all__ = ["publish_maintenance"]

MOST_SHOWN = 20


@task(name="publish-maintenance", cache_policy=NO_CACHE, result_serializer="json")
def publish_maintenance(
    verified: VerifiedStore, compacted: CompactedStore, garbage: CollectedGarbage
) -> None:
    """Publish one Markdown artifact, `maintain-stores`; never raises."""
    if not has_audience():
        return
    with publishing("what maintenance did"):
        create_markdown_artifact(
            key="maintain-stores",
            markdown="\n".join(_lines(verified, compacted, garbage)),
            description="What the last maintenance of the stores found and did.",
        )


def _lines(
    verified: VerifiedStore, compacted: CompactedStore, garbage: CollectedGarbage
) -> list[str]:
    return [
        "| what | how many |",
        "|---|---:|",
        f"| files verified | {verified.n_files:,} ({verified.size_bytes / 1e6:,.1f} MB) |",
        f"| damaged | {len(verified.damaged):,} |",
        f"| set aside | {verified.n_set_aside:,} |",
        f"| small files merged | {compacted.n_files_before:,} into {compacted.n_files_after:,} |",
        f"| unfinished files removed | {garbage.n_unfinished:,} |",
        f"| unreferenced features dropped | {garbage.n_unreferenced:,} |",
        f"| set-aside files kept for a person | {garbage.n_set_aside:,} |",
        "",
        *(f"- {inert(each)}" for each in verified.damaged[:MOST_SHOWN]),
    ]
