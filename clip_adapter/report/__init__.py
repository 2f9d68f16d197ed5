"""Reports on recorded runs: pages with tables, figures and paired comparisons."""

from typing import TYPE_CHECKING

from clip_adapter.lazy import when_asked
from clip_adapter.report.pages import HTML as HTML
from clip_adapter.report.pages import Extras as Extras
from clip_adapter.report.pages import WrittenReport as WrittenReport
from clip_adapter.report.pages import write_report as write_report

_FORMER = {"ReportError": "clip_adapter.runs.RunStoreError"}
"""Former names, accepted for one release."""

if TYPE_CHECKING:
    from clip_adapter.report.open_vocabulary import OpenVocabulary as OpenVocabulary
    from clip_adapter.report.open_vocabulary import open_vocabulary_table as open_vocabulary_table
    from clip_adapter.report.open_vocabulary import read_open_vocabulary as read_open_vocabulary
    from clip_adapter.report.selection_costs import SelectionCosts as SelectionCosts
    from clip_adapter.report.selection_costs import read_selection_costs as read_selection_costs
    from clip_adapter.report.studies import Study as Study
    from clip_adapter.report.studies import read_studies as read_studies
else:  # most stores have no studies
    __getattr__ = when_asked(
        __name__,
        _FORMER,
        open_vocabulary=("OpenVocabulary", "open_vocabulary_table", "read_open_vocabulary"),
        selection_costs=("SelectionCosts", "read_selection_costs"),
        studies=("Study", "read_studies"),
    )
