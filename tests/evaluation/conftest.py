"""One thread: on pictures as small as these, several only wait for one another."""

import cv2
import torch

torch.set_num_threads(1)
cv2.setNumThreads(1)
