"""Known settings, and suggestions for misspelled ones."""

from __future__ import annotations

from collections.abc import Iterable

from celery.app.defaults import NAMESPACES, Option, flatten

from cadasta.workertoolbox.conf._errors import UnknownSetting
from cadasta.workertoolbox.conf._settings.celery import SETTINGS
from cadasta.workertoolbox.conf._settings.variables import ENV_PREFIX, VARIABLES
from cadasta.workertoolbox.routing import find_similar

#: Lowest similarity at which a lowercase name counts as a misspelled setting of
#: Celery's and not as the user's own setting: `task_qeues` has 0.95.
MISSPELLED = 0.9


def _before_celery_4(namespace: str, key: str, option: Option) -> list[tuple[str, str]]:
    return [(old.format(key).upper(), namespace + key) for old in option.old]


#: New names of Celery's settings by their uppercase names: the names before Celery 4,
#: and the names with `CELERY_` that Celery reads with `namespace="CELERY"`.
OLD_NAMES: dict[str, str] = {
    **{name.upper(): name for name in SETTINGS},
    **{f"CELERY_{name.upper()}": name for name in SETTINGS},
    **dict(flatten(NAMESPACES, keyfilter=_before_celery_4)),
}

_KNOWN = (*SETTINGS, *VARIABLES, ENV_PREFIX.name)


def check_names(names: Iterable[str]) -> None:
    """Refuse keywords that Celery and the toolbox would silently ignore.

    A lowercase name that is not similar to any of Celery's is the user's own setting.

    Raises:
        UnknownSetting: An old name of Celery's, an uppercase name that is not a
            variable of the toolbox, or a misspelled name of Celery's.
    """
    for name in names:
        if name in VARIABLES or name in SETTINGS:
            continue
        if new := OLD_NAMES.get(name.upper()):
            raise UnknownSetting(
                f"{name!r} is an old name, which Celery does not accept beside new "
                f"ones; write {new!r}"
            )
        if name.islower() and not find_similar(name, _KNOWN, similarity=MISSPELLED):
            continue
        similar = find_similar(name, _KNOWN)
        hint = (
            f"did you mean {similar!r}?"
            if similar
            else "remove it, or write it in lowercase if it is a setting of your own"
        )
        raise UnknownSetting(
            f"{name!r} is neither a variable of the toolbox nor a setting of "
            f"Celery's; {hint}"
        )
