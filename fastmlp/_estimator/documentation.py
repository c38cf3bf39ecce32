"""Links from the HTML representation of an estimator to its page on the documentation site."""

DOCUMENTATION = "https://fastmlp.github.io/fastmlp/"  # the site that README.md builds


class Documented:
    """Links an estimator to the documentation; scikit-learn reads these names."""

    _doc_link_module = "fastmlp"
    _doc_link_template = f"{DOCUMENTATION}{{page}}.html#{{estimator_name}}"

    def _doc_link_url_param_generator(self) -> dict[str, str]:
        """The page of this class on the documentation site: that of the package that exports it."""
        package = type(self).__module__.rpartition(".")[0]
        return {"page": package.replace(".", "/"), "estimator_name": type(self).__name__}
