"""Vega, Vega-Lite and Vega-Embed as one script, which the page contains."""

from __future__ import annotations

import vl_convert

NOTICE = (
    "Vega, Vega-Lite and Vega-Embed: copyright (c) 2015-2023, University of Washington Interactive Data Lab, "
    "BSD 3-Clause licence. Redistribution and use, with or without modification, are permitted with this notice; "
    "provided as is, without any warranty."
)


def versions() -> str:
    """The versions in the script, as text."""
    return (
        f"Vega {vl_convert.get_vega_version()}, Vega-Lite {vl_convert.get_vegalite_versions()[-1]} and "
        f"Vega-Embed {vl_convert.get_vega_embed_version()}"
    )


def runtime() -> str:
    """The script: it sets `window.vegaEmbed`, and has no </script in it."""
    script = str(vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;")).replace("</script", "<\\/script")
    return f"(() => {{{script}}})();"  # its other names stay local
