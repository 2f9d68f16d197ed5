"""What was tried and how it went: runs at rest, and SQL over them."""

from clip_adapter.runs.errors import InvalidRecordError as InvalidRecordError
from clip_adapter.runs.errors import MissingRootError as MissingRootError
from clip_adapter.runs.errors import QueryError as QueryError
from clip_adapter.runs.lens import Lens as Lens
from clip_adapter.runs.lens import open_lens as open_lens
from clip_adapter.runs.lens import query as query
from clip_adapter.runs.records import ImagePredictions as ImagePredictions
from clip_adapter.runs.records import RunRecord as RunRecord
from clip_adapter.runs.records import RunResult as RunResult
from clip_adapter.runs.records import SelectedOn as SelectedOn
from clip_adapter.runs.records import SplitImages as SplitImages
from clip_adapter.runs.records import SplitRecord as SplitRecord
from clip_adapter.runs.records import Status as Status
from clip_adapter.runs.run_settings import Candidate as Candidate
from clip_adapter.runs.run_settings import RunSettings as RunSettings
from clip_adapter.runs.run_settings import Versions as Versions
from clip_adapter.runs.store import RunStore as RunStore
from clip_adapter.runs.views import VIEWS as VIEWS
