"""The registry, several origins, redirects, challenges, and sentences for what goes wrong.

Each module imports only from those above it::

    errors       what breaks an exchange off, in words that are ours
    redirects    where the registry may send us, and what we take along
    origins      several doors to one registry: which is asked, and which are left alone for a while
    authority    the registry's challenges, answered with the proxy's own credentials
    replies      answers that are read as a whole, and why there was none, in sentences
    service_authorisation   the proxy's own credentials on a request, renewed where they are refused
    registry     the registry: streamed answers and bounded ones
    referrers    what refers to a manifest, from the registry's API or from a tag
"""
