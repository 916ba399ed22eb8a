"""Status codes of generated controllers, the same numbers in Python, in C and on the board."""

OK = 0  # theta lies in a region
OUTSIDE = 1  # outside all regions
BAD_INPUT = 2  # theta is not finite, or the result overflows: the safe value
FILTERED = 3  # the safety filter changed the proposed input
LAW_USED = 4  # the learned part was not finite: the law's input
NO_SAFE_INPUT = 5  # the filter's interval is empty
