"""Being a witness of logs: heads that only grow, checked, remembered and cosigned (C2SP tlog-witness)."""
