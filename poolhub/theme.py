"""What django-unfold, the admin's theme, is told: names, colours, sidebar."""

from typing import Any

from django.http import HttpRequest
from django.templatetags.static import static


def own_styles(request: HttpRequest) -> str:
    return static("poolhub/admin.css")


def panel_styles(request: HttpRequest) -> str:
    return static("poolhub/panels.css")


def icon(request: HttpRequest) -> str:
    return static("poolhub/icon.svg")


UNFOLD: dict[str, Any] = {
    "SITE_TITLE": "Pool Hub",
    "SITE_HEADER": "Pool Hub",
    "SITE_SUBHEADER": "Operators' admin",
    "SITE_SYMBOL": "hub",
    "SITE_FAVICONS": [{"rel": "icon", "type": "image/svg+xml", "href": icon}],
    "SITE_URL": None,  # there is no public site to go to
    "SHOW_VIEW_ON_SITE": False,
    "SHOW_HISTORY": True,
    "BORDER_RADIUS": "6px",
    "COLORS": {
        # teal: the theme's own purple is too near to the red of errors and the blue of links in charts
        "primary": {
            "50": "oklch(98.4% .014 180.72)",
            "100": "oklch(95.3% .051 180.801)",
            "200": "oklch(91% .096 180.426)",
            "300": "oklch(85.5% .138 181.071)",
            "400": "oklch(77.7% .152 181.912)",
            "500": "oklch(70.4% .14 182.503)",
            "600": "oklch(51.1% .096 186.391)",
            "700": "oklch(45% .085 187)",
            "800": "oklch(43.7% .078 188.216)",
            "900": "oklch(38.6% .063 188.416)",
            "950": "oklch(27.7% .046 192.524)",
        }
    },
    "STYLES": [own_styles, panel_styles],
    "SIDEBAR": {"show_search": False, "show_all_applications": False, "navigation": "poolhub.navigation.sidebar"},
}
