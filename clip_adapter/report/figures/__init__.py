"""Figures of a report, drawn from rows as SQL gives them.

Every function returns a chart of Altair, interactive where Vega draws it, complete where it is a picture.
Names of fields and expressions are constants; text from data is a value, escaped. `svg`, `png`, `pdf` and
`encode` make files of charts.
"""

from clip_adapter.report.figures.accuracy_lines import accuracy as accuracy
from clip_adapter.report.figures.base_and_new import base_to_new as base_to_new
from clip_adapter.report.figures.calibration import reliability as reliability
from clip_adapter.report.figures.class_changes import per_class_change as per_class_change
from clip_adapter.report.figures.confused_classes import confusion as confusion
from clip_adapter.report.figures.decisions import champions as champions
from clip_adapter.report.figures.drawing import Figure as Figure
from clip_adapter.report.figures.projections import features as features
from clip_adapter.report.figures.rendering import DPI as DPI
from clip_adapter.report.figures.rendering import SUFFIXES as SUFFIXES
from clip_adapter.report.figures.rendering import encode as encode
from clip_adapter.report.figures.rendering import pdf as pdf
from clip_adapter.report.figures.rendering import png as png
from clip_adapter.report.figures.rendering import specification as specification
from clip_adapter.report.figures.rendering import svg as svg
from clip_adapter.report.figures.rendering import warm_up as warm_up
from clip_adapter.report.figures.style import DOCUMENT as DOCUMENT
from clip_adapter.report.figures.style import PAGE as PAGE
from clip_adapter.report.figures.style import Style as Style
from clip_adapter.report.figures.varied_setting import study as study
