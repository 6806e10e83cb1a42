from packshot.api import Judged as Judged
from packshot.api import PictureJudge as PictureJudge
from packshot.api import load as load

__version__: str
