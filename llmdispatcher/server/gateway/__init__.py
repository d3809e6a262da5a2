"""The gateway: a WSGI callable with one table of routes over the server side of the wire formats.

The path of a request:

1. ``app.py``, ``Gateway.__call__`` and ``_respond``: it takes the present dispatcher and keeps it through a reload; ``Incoming``
   (``http.py``) holds its headers, and ``RequestLog`` (``requests.py``) begins its record.
2. ``app.py``, ``_answer``: the rules of hosts (``hosts.py``), a row of ``ROUTES``, the key (``server/keys.py``) or the user
   of the application (``users.py``), and its scope.
3. ``KeyLimits.enter`` (``limits.py``) counts it. The body is read within bounds (``http.py``, ``checks.py``), for a ``Task``.
4. ``conversations.py``, ``converse`` and ``_asked``: the format's codec reads the body (``formats.py``). It is checked, and gets
   its session (``sessions.py``) and the targets that its key may ask (``Grants`` in ``targets.py``).
5. ``Original`` (``passing.py``) binds the client's bytes to it, for vendors of the same format.
6. ``CallCharge.take`` (``limits.py``) reserves tokens and budgets of all levels (``server/budgets.py``).
7. ``Dispatcher.send`` or ``send_streaming``; ``ClientRequest.as_sent_to`` (``targets.py``, ``marks.py``) says what it becomes at
   each target.
8. ``answers.py``: a whole answer with the facts in its headers, or ``Events``, which stops the vendor when the client leaves.
9. The charge is settled by what was used (``limits.py``), and the record is written (``record.py``, ``server/records.py``).

``passthrough.py`` takes the place of a codec for paths of ``[[passthrough]]``; ``management.py``, ``models.py``, ``service.py`` and
``usage.py`` answer the other routes.
"""
