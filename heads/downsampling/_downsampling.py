"""Base classes of windowed poolings."""

from typing import ClassVar

from heads._checks import check_flag
from heads._specified import Specified
from heads.downsampling._window import Size, Window, as_given


class Downsampling(Specified):
    """A windowed pooling: a drop-in replacement for torch's pooling layers inside a backbone.

    ``kernel_size``, ``stride`` (``kernel_size`` when None), ``padding``, ``dilation`` and ``ceil_mode`` are those of
    `torch.nn.MaxPool2d`. ``dims`` is the number of dimensions over which the window slides.

    >>> from heads.downsampling import SoftPool2d
    >>> SoftPool2d(3, stride=2, padding=1)
    softpool2d(kernel_size=3, stride=2, padding=1)
    """

    dims: ClassVar[int] = 2

    def __init__(
        self,
        kernel_size: Size,
        stride: Size | None = None,
        padding: Size = 0,
        *,
        dilation: Size = 1,
        ceil_mode: bool = False,
    ) -> None:
        super().__init__()
        window = Window.of(self.dims, kernel_size, stride, padding, dilation, ceil_mode)
        self.kernel_size = as_given(window.kernel, self.dims)
        self.stride = as_given(window.stride, self.dims)
        self.padding = as_given(window.padding, self.dims)
        self.dilation = as_given(window.dilation, self.dims)
        self.ceil_mode = window.ceil_mode

    @property
    def window(self) -> Window:
        """The window described by the attributes, which can be changed like those of a convolution."""
        return Window.of(self.dims, self.kernel_size, self.stride, self.padding, self.dilation, self.ceil_mode)


class Averaging(Downsampling):
    """A windowed pooling that averages; ``count_include_pad`` says whether padding counts as zeros.

    >>> from heads.downsampling import AvgPool2d
    >>> AvgPool2d(3, padding=1, count_include_pad=True)
    avgpool2d(kernel_size=3, stride=3, padding=1, count_include_pad=True)
    """

    def __init__(
        self,
        kernel_size: Size,
        stride: Size | None = None,
        padding: Size = 0,
        *,
        dilation: Size = 1,
        ceil_mode: bool = False,
        count_include_pad: bool = False,
    ) -> None:
        super().__init__(kernel_size, stride, padding, dilation=dilation, ceil_mode=ceil_mode)
        self.count_include_pad = check_flag(count_include_pad, "count_include_pad")
