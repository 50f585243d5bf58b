"""Trillian's gRPC interface: messages and stubs for clients and servers in Python.

    import time, grpc
    from touchplate.proto.trillian import trillian_admin_api_pb2 as admin, trillian_pb2 as trillian
    from touchplate.proto.trillian import trillian_admin_api_pb2_grpc as admin_grpc
    from touchplate.proto.trillian import trillian_log_api_pb2 as log, trillian_log_api_pb2_grpc as log_grpc

    with grpc.insecure_channel("127.0.0.1:8090") as channel:
        trees, leaves = admin_grpc.TrillianAdminStub(channel), log_grpc.TrillianLogStub(channel)
        tree = trillian.Tree(tree_state=trillian.ACTIVE, tree_type=trillian.LOG)
        tree.max_root_duration.SetInParent()  # never a new root without new leaves
        tree_id = trees.CreateTree(admin.CreateTreeRequest(tree=tree)).tree_id
        leaves.InitLog(log.InitLogRequest(log_id=tree_id))
        leaf = log.LogLeaf(leaf_value=b"what is hashed", extra_data=b"what-is-kept-beside-it")
        queued = leaves.QueueLeaf(log.QueueLeafRequest(log_id=tree_id, leaf=leaf)).queued_leaf
        first = log.GetLeavesByRangeRequest(log_id=tree_id, start_index=0, count=1)
        while not (found := leaves.GetLeavesByRange(first)).leaves:
            time.sleep(0.1)  # queued is not integrated: Trillian's signer does that when it likes
        print(queued.status.code, found.leaves[0].extra_data.decode(), found.signed_log_root.log_root.hex())

`trillian_pb2` has trees and roots, `trillian_log_api_pb2` the log's calls, `trillian_admin_api_pb2` the
management of trees. The modules with `_pb2` in their name are generated: `make proto`.
"""
