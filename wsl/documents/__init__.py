"""The one door for text, JSON, YAML and XML that strangers wrote: limits, and one clear line for every surprise."""

from wsl.documents.guard import guarded, located, reading
from wsl.documents.json_files import json_lines, load_json, parse_json
from wsl.documents.text import read_text, text_lines
from wsl.documents.values import flag, number
from wsl.documents.xml_files import load_xml, parse_xml
from wsl.documents.yaml_files import load_yaml

__all__ = [
    "flag",
    "guarded",
    "json_lines",
    "load_json",
    "load_xml",
    "load_yaml",
    "located",
    "number",
    "parse_json",
    "parse_xml",
    "read_text",
    "reading",
    "text_lines",
]
