"""Blocks that want to talk to anybody: every family, every way to a socket."""

from __future__ import annotations

from tests.sandbox.attacks.attack import ERROR, Attack, refused, system_call

_DOWN = "OSError ENETDOWN|PermissionError"

_FAMILIES = [
    refused("TCP", "internet", """
import socket
def talk(address):
    with socket.create_connection(address, timeout=0.5) as s: s.sendall(b'x')
for address in (('127.0.0.1', @TCP@), ('8.8.8.8', 53), ('localhost', @TCP@)): attempt(address, talk, address)
attempt('v6', socket.socket, socket.AF_INET6, socket.SOCK_STREAM)
""", says=_DOWN),
    refused("UDP", "internet", """
import socket
def send(): socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'x', ('127.0.0.1', @UDP@))
attempt('udp', send)
attempt('v6', socket.socket, socket.AF_INET6, socket.SOCK_DGRAM)
attempt('raw', socket.socket, socket.AF_INET, socket.SOCK_RAW, 1)
attempt('ping', socket.socket, socket.AF_INET, socket.SOCK_DGRAM, 1)
""", says=_DOWN),
    refused("servers", "internet", """
import asyncio, http.server, socket, socketserver
attempt('server', socket.create_server, ('127.0.0.1', 0))
attempt('http', http.server.HTTPServer, ('', 0), http.server.SimpleHTTPRequestHandler)
async def serve(): return (await asyncio.start_server(lambda r, w: None, '127.0.0.1', 0)).sockets[0]
attempt('asyncio', lambda: asyncio.run(serve()))
""", says="OSError|PermissionError"),
    refused("names", "internet", """
import socket
for name in ('example.com', 'localhost', 'kaggle.com'):
    attempt(name, socket.gethostbyname, name + '.' if name != 'localhost' else 'nowhere.invalid')
    attempt(name, socket.getaddrinfo, name, 80) if name != 'localhost' else None
""", says="gaierror|ENETDOWN|PermissionError"),
    refused("libraries", "internet", """
import ftplib, http.client, smtplib, urllib.request, xmlrpc.client
attempt('urllib', urllib.request.urlopen, 'http://127.0.0.1:@TCP@/', timeout=0.5)
attempt('http', lambda: http.client.HTTPConnection('127.0.0.1', @TCP@, timeout=0.5).request('GET', '/'))
attempt('ftp', ftplib.FTP, '127.0.0.1', timeout=0.5)
attempt('smtp', smtplib.SMTP, '127.0.0.1', @TCP@, timeout=0.5)
""", says="OSError|URLError|PermissionError"),
    Attack("an upload", "internet", """
import urllib.request
urllib.request.urlopen('https://example.com/', data=b'the answer')
""", (ERROR,), says="URLError|OSError|gaierror|PermissionError"),
]  # fmt: skip

_LOCAL = [
    refused("a path", "UNIX socket", """
import socket
def talk(kind):
    with socket.socket(socket.AF_UNIX, kind) as s: s.connect('@UNIX@')
for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM, socket.SOCK_SEQPACKET): attempt(kind, talk, kind)
""", says=_DOWN),
    refused("an abstract name", "UNIX socket", """
import socket
def talk(kind):
    with socket.socket(socket.AF_UNIX, kind) as s: s.connect('\\0@ABSTRACT@')
for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM, socket.SOCK_SEQPACKET): attempt(kind, talk, kind)
def listen():
    s = socket.socket(socket.AF_UNIX)
    s.bind('\\0attack')
    s.listen()
attempt('listen', listen)
""", says=_DOWN),
    refused("well known ones", "UNIX socket", """
import glob, socket
for path in ('/var/run/docker.sock', '/run/systemd/private', '/run/dbus/system_bus_socket', '/tmp/.X11-unix/X0', '/dev/log'):
    attempt(path, lambda: socket.socket(socket.AF_UNIX).connect(path))
""", says=_DOWN),
    refused("a pair, turned round", "UNIX socket", """
import socket
a, b = socket.socketpair()
attempt('connect', a.connect, '\\0@ABSTRACT@')
attempt('send', a.sendto, b'x', '@UNIX@')
attempt('bind', a.bind, '\\0attack')
attempt('listen', a.listen)
attempt('accept', lambda: (a.settimeout(0.1), a.accept()))
""", says="OSError|PermissionError|TimeoutError"),
    refused("pairs of datagrams", "UNIX socket", """
import socket
def pair():
    a, b = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    a.sendto(b'x', '\\0@ABSTRACT@')
attempt('datagrams', pair)
def packets():
    a, b = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    a.connect('\\0@ABSTRACT@')
attempt('packets', packets)
""", says="OSError|PermissionError|Error"),
]  # fmt: skip

_ODD = [
    refused("every number", "other family", """
import socket
opened = []
for family in range(0, 64):
    for kind in range(1, 11):
        try:
            socket.socket(family, kind, 0).close()
            opened.append((family, kind))
        except OSError as error: last = error
        except (ValueError, OverflowError): pass
print('last', errno.errorcode[last.errno])
if opened: print('DO' 'NE', opened)
""", says="last (ENETDOWN|EPERM|EACCES)"),
    refused("netlink and packets", "other family", """
import socket
for name in ('AF_NETLINK', 'AF_PACKET', 'AF_VSOCK', 'AF_ALG', 'AF_BLUETOOTH', 'AF_CAN', 'AF_TIPC', 'AF_QIPCRTR', 'AF_KEY'):
    for kind in (socket.SOCK_RAW, socket.SOCK_DGRAM, socket.SOCK_STREAM, socket.SOCK_SEQPACKET):
        if hasattr(socket, name): attempt(name, socket.socket, getattr(socket, name), kind)
""", says=_DOWN),
    system_call("by raw calls", "other family", """
for family in (1, 2, 10, 16, 17, 38, 40, 44):
    for kind in (1, 2, 3, 5, 1 | 0o2000000, 2 | 0o4000): call(family, 41, family, kind, 0)
call('pair of internet', 53, 2, 1, 0, ctypes.create_string_buffer(8))
""", says="E(NETDOWN|PERM|ACCES)"),
    system_call("wide numbers", "other family", """
for family in (2**32 + 1, 2**32 + 2, 2**63 + 2, -(2**32) + 10):
    libc.syscall.argtypes = [ctypes.c_long, ctypes.c_ulong, ctypes.c_ulong, ctypes.c_ulong]
    ctypes.set_errno(0)
    result = libc.syscall(41, family & (2**64 - 1), 1, 0)
    print('DONE' if result != -1 else errno.errorcode[ctypes.get_errno()])
""", says="E(NETDOWN|PERM|ACCES|AFNOSUPPORT)"),
]  # fmt: skip

ATTACKS = [*_FAMILIES, *_LOCAL, *_ODD]
