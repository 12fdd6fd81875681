import pytest

from sites.hospitals import Hospitals, write_hospitals


@pytest.fixture(scope="session")
def hospitals(tmp_path_factory: pytest.TempPathFactory) -> Hospitals:
    return write_hospitals(tmp_path_factory.mktemp("hospitals"))
