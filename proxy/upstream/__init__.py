"""The registry, several origins, redirects, challenges, and error messages.

Each module imports only from those above it::

    errors       causes of broken exchanges, in the proxy's own words
    origins      several addresses of one registry: the order to try them in, and pauses for failed ones
    session      connections to the registry and to its token servers, and requests over them
    redirects    where the registry may send us, and the headers that go along
    authority    the registry's challenges, answered with the proxy's own credentials
    replies      answers that are read as a whole, and errors where there was none
    service_authorisation   the proxy's own credentials on a request, renewed when refused
    registry     what is asked of a registry, whoever answers
    attempts     one question, and the origins that it goes to until one takes it
    upstream     the registry: streamed answers and bounded ones
    referrers    referrers of a manifest, from the registry's API or from a tag
"""
