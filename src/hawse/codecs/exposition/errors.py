"""Why an exposition is not taken."""


class ExpositionError(ValueError):
    """The body is malformed. The text says where, and what is wrong there."""


class LimitExceeded(ValueError):
    """The body has more than the scrape configuration allows. The text begins with the limit's key."""
