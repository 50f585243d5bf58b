"""Trillian's gRPC interface: messages and stubs for clients and servers in Python.

    import grpc
    from touchplate.proto.trillian import trillian_log_api_pb2, trillian_log_api_pb2_grpc

    with grpc.insecure_channel("127.0.0.1:8090") as channel:
        log = trillian_log_api_pb2_grpc.TrillianLogStub(channel)

`trillian_pb2` has trees and roots, `trillian_log_api_pb2` the log's calls, `trillian_admin_api_pb2` the
management of trees. The modules with `_pb2` in their name are generated: `make proto`.
"""
