"""The adapters' HTTP face: problem answers, sending of files, the auditors' JSON and the web pages."""
