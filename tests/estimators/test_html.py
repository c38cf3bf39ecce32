"""The HTML representation in notebooks: a link to the documentation, a tooltip on every name."""

import importlib
import re
import tomllib
from pathlib import Path

import needs
import numpy as np
import pandas as pd
import pytest
from sklearn.neural_network import MLPClassifier as SklearnMLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import fastmlp
from fastmlp import MLPClassifier, MLPRegressor, MLPTransformer
from fastmlp._estimator.documentation import DOCUMENTATION

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

TOOLTIPS = needs.scikit_learn(1, 9, reason="it shows tooltips")
X = pd.DataFrame(np.random.RandomState(0).randn(40, 3), columns=["a", "b", "c"])
Y = np.arange(40) % 2


def described(html):
    """The parameters and attributes that have a tooltip."""
    return set(re.findall(r"position-anchor: --doc-link-(\w+);", html))


@TOOLTIPS
@pytest.mark.parametrize("estimator", [MLPClassifier, MLPRegressor])
@pytest.mark.parametrize("options", [{}, {"early_stopping": True}, {"solver": "lbfgs"}])
def test_every_parameter_and_attribute_has_a_link_and_a_tooltip(estimator, options):
    model = estimator(hidden_layer_sizes=(4,), max_iter=3, **options)
    assert described(model._repr_html_()) == set(model.get_params())
    html = model.fit(X, Y)._repr_html_()
    attributes = {name for name in vars(model) if name.endswith("_") and name[0] != "_"}
    assert described(html) == set(model.get_params()) | attributes
    page = f"{DOCUMENTATION}fastmlp.html#{estimator.__name__}"
    links = set(re.findall(r'href="(.*?)"', html))
    assert page in links and all(link.startswith(page) for link in links)
    assert len(links) == 1 + len(described(html))


def test_there_are_at_least_as_many_as_in_scikit_learn():
    theirs = SklearnMLPClassifier((4,), max_iter=3).fit(X, Y)._repr_html_()
    ours = MLPClassifier((4,), max_iter=3).fit(X, Y)._repr_html_()
    assert described(theirs) - {"best_validation_score_"} <= described(ours)
    assert ours.count(">?<") == theirs.count(">?<") == 1


def test_a_step_of_a_pipeline_links_to_its_own_page():
    html = make_pipeline(StandardScaler(), MLPClassifier()).fit(X, Y)._repr_html_()
    assert f"{DOCUMENTATION}fastmlp.html#MLPClassifier" in html
    assert "https://scikit-learn.org" in html


def test_a_users_subclass_links_nowhere():
    class Mine(MLPClassifier):
        """Mine."""

    assert Mine()._get_doc_link() == "" and "MLPClassifier" in MLPClassifier()._get_doc_link()


@TOOLTIPS
def test_the_pages_are_those_of_packages_that_export_the_class():
    exported = [(fastmlp, each) for each in (MLPClassifier, MLPRegressor)]
    if importlib.util.find_spec("distributed"):
        package = importlib.import_module("fastmlp.dask")
        exported += [(package, getattr(package, name)) for name in package.__all__]
    for package, estimator in exported:
        assert estimator.__name__ in package.__all__
        page = package.__name__.replace(".", "/")
        assert estimator()._get_doc_link() == f"{DOCUMENTATION}{page}.html#{estimator.__name__}"
        assert described(estimator()._repr_html_()) == set(estimator().get_params())


def test_the_site_is_the_projects():
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text("utf-8"))
    assert project["project"]["urls"]["Documentation"] == DOCUMENTATION


def test_the_transformer_links_to_its_own_page():
    transformer = MLPTransformer(MLPClassifier((4,), max_iter=3)).fit(X, Y)
    assert transformer._get_doc_link() == f"{DOCUMENTATION}fastmlp.html#MLPTransformer"
    html = transformer._repr_html_()
    assert f"{DOCUMENTATION}fastmlp.html#MLPClassifier" in html
