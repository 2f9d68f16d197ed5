"""Reports on recorded runs: pages with tables, figures and paired comparisons."""

from clip_adapter.report.pages import WrittenReport as WrittenReport
from clip_adapter.report.pages import write_report as write_report
from clip_adapter.report.results import ReportError as ReportError
from clip_adapter.report.studies import Study as Study
from clip_adapter.report.studies import read_studies as read_studies
