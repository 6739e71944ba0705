"""HTTP/1.1 as a client of registries needs it. For any thread.

failures     why an exchange failed
response     the head of an answer, and its body as it comes
connection   one connection, for one request at a time
proxies      the HTTP proxies that the environment names
url          addresses, taken apart
pool         connections, kept for the next request
"""
