"""Which settings there are, and what somebody meant who wrote another one."""

from __future__ import annotations

from collections.abc import Iterable

from celery.app.defaults import NAMESPACES, Option, flatten

from cadasta.workertoolbox.conf._errors import UnknownSetting
from cadasta.workertoolbox.conf._settings.celery import SETTINGS
from cadasta.workertoolbox.conf._settings.spelling import likeness, nearest
from cadasta.workertoolbox.conf._settings.variables import VARIABLES

#: How alike an unknown setting and one of Celery's are when it is taken for a slip of
#: the pen, and not for a setting of some extension: `task_qeues` has 0.95.
_SLIP = 0.9

#: How alike they are where it helps to name the known one: `SECRET_KEY` and
#: `security_key` have 0.82, and `SETUP_LOGGING` is not meant for any.
_ALIKE = 0.7


def _before_celery_4(namespace: str, key: str, option: Option) -> list[tuple[str, str]]:
    return [(old.format(key).upper(), namespace + key) for old in option.old]


#: Celery's settings by the names of old and of a namespace `CELERY`, in uppercase.
OLD_NAMES: dict[str, str] = {
    **{name.upper(): name for name in SETTINGS},
    **{f"CELERY_{name.upper()}": name for name in SETTINGS},
    **dict(flatten(NAMESPACES, keyfilter=_before_celery_4)),
}


def check_names(names: Iterable[str]) -> None:
    """Refuse keywords that would be ignored in silence.

    A lowercase name that is like none of Celery's is a setting of the user's own.

    Raises:
        UnknownSetting: An old name of Celery's, an uppercase name that is none of the
            toolbox's, or a lowercase one that is nearly one of Celery's.
    """
    for name in names:
        if name in VARIABLES or name in SETTINGS:
            continue
        if old := OLD_NAMES.get(name.upper()):
            raise UnknownSetting(
                f"{name!r} is an old name, which Celery does not take beside new ones; "
                f"write {old!r}"
            )
        known = nearest(name, [*SETTINGS, *VARIABLES, "ENV_PREFIX"])
        alike = likeness(name, known)
        if not name.islower() or alike >= _SLIP:
            hint = (
                f"did you mean {known!r}?"
                if alike >= _ALIKE
                else "leave it out, or write it in lowercase if it is your own"
            )
            raise UnknownSetting(
                f"{name!r} is no variable of the toolbox and no setting of Celery's; "
                f"{hint}"
            )
