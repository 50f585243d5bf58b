"""x"""


def image_rows(*a):
    return iter(())
