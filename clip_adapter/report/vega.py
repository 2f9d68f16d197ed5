"""Vega-Lite as one script, which a page contains."""

from functools import cache

import vl_convert


@cache
def vega_script() -> str:
    """Vega, Vega-Lite and vega-embed as JavaScript, which sets `vegaEmbed`."""
    return str(vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;"))
