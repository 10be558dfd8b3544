"""What wrappers of data sets ask of one that gives each clip one label."""

from __future__ import annotations


class SingleLabelMixin:
    """Adds to an MMAction2 data set what MMEngine's ``ClassBalancedDataset`` asks of it.

    That wrapper repeats the clips of rare classes, for which it needs to know classes without decoding a clip.
    """

    def get_cat_ids(self, idx: int) -> list[int]:
        """The label of a clip, as the list that the wrapper expects.

        Args:
            idx (int): Number of the clip.
        """
        label = self.get_data_info(idx)['label']
        return label.nonzero().flatten().tolist() if self.multi_class else [label]
