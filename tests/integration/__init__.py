import pytest

# Its checks are assertions outside a test module.
pytest.register_assert_rewrite("tests.integration.todays")
