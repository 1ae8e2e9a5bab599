"""Files of skops: models of scikit-learn, of types that are known to run no code of the file."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from zipfile import ZipFile

from securealign.alignment.scikit import scores_of
from securealign.errors import SecurealignError
from securealign.heads.found import Found, invalid
from securealign.optional import require

#: Types that linear models hold beside those that skops trusts. They say how a model was fitted, and are not called.
_ALLOWED = frozenset(
    {
        "sklearn.feature_selection._mutual_info.mutual_info_classif",
        "sklearn.feature_selection._univariate_selection.chi2",
        "sklearn.feature_selection._univariate_selection.f_classif",
        "sklearn.metrics._scorer._PassthroughScorer",
        "sklearn.metrics._scorer._Scorer",
        "sklearn.model_selection._split.KFold",
        "sklearn.model_selection._split.StratifiedKFold",
        "sklearn.utils._metadata_requests.MetadataRequest",
        "sklearn.utils._metadata_requests.MethodMetadataRequest",
    }
)
_SHOWN = 5
#: Bytes of an unpacked file; the largest heads have a tenth of it.
_LARGEST = 1 << 30


def read_skops(path: Path) -> Found:
    """Return the scores of the classifier in a file.

    Raises `InputError` for a file that is damaged or holds types that are not trusted, and for a model that is not
    linear; `DependencyError` without skops.
    """
    skops = require("skops.io", "A file of skops", extra="heads")
    data = path.read_bytes()
    try:
        with ZipFile(BytesIO(data)) as content:
            if sum(entry.file_size for entry in content.infolist()) > _LARGEST:
                raise invalid(path, f"unpacks to more than {_LARGEST >> 30} GiB", "Save the classifier alone.")
        unknown = skops.get_untrusted_types(data=data)
        refused = sorted(set(unknown) - _ALLOWED)
        if refused:
            more = f" and {len(refused) - _SHOWN} more" if len(refused) > _SHOWN else ""
            raise invalid(
                path,
                f"holds types that are not trusted: {', '.join(refused[:_SHOWN])}{more}",
                "Save a linear classifier of scikit-learn alone, without classes and functions of your own.",
            )
        model = skops.loads(data, trusted=unknown)
    except SecurealignError:
        raise
    except Exception as error:  # whatever a damaged file leads to in skops and in the constructors that it calls
        raise invalid(path, f"is no file of skops, or damaged: {error}", "Save it again with skops.io.dump.") from error
    return Found(scores_of(model), named=True)
