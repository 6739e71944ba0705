"""The registry, several origins, redirects, challenges, and sentences for what goes wrong.

Each module imports only from those above it::

    errors       what breaks an exchange off, in words that are ours
    origins      several doors to one registry: which is asked, and which are left alone for a while
    session      connections to the registry and to its token servers, and requests over them
    redirects    where the registry may send us, and what we take along
    authority    the registry's challenges, answered with the proxy's own credentials
    replies      answers that are read as a whole, and why there was none, in sentences
    service_authorisation   the proxy's own credentials on a request, renewed where they are refused
    attempts     one question, and the origins that it goes to until one takes it
    upstream     the registry: streamed answers and bounded ones
    referrers    what refers to a manifest, from the registry's API or from a tag
"""
