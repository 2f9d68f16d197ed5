"""Pages and pictures of what the run store knows; nothing is in them that is not in the store."""

from clip_adapter.report.facts import NothingToReportError as NothingToReportError
from clip_adapter.report.facts import PageFormatError as PageFormatError
from clip_adapter.report.pages import WrittenReport as WrittenReport
from clip_adapter.report.pages import write_report as write_report
from clip_adapter.report.studies import Study as Study
from clip_adapter.report.studies import read_studies as read_studies
from clip_adapter.report.summary import Place as Place
from clip_adapter.report.summary import SweepFacts as SweepFacts
from clip_adapter.report.summary import Told as Told
from clip_adapter.report.summary import tell as tell
