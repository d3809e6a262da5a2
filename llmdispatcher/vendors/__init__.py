"""The ``Vendor`` protocol, the vendors of the catalog, and ``HttpVendor``, which they are made of."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .._lazy import door

if TYPE_CHECKING:
    from .builtin import AnthropicVendor as AnthropicVendor
    from .builtin import AzureOpenAIVendor as AzureOpenAIVendor
    from .builtin import GoogleVendor as GoogleVendor
    from .builtin import HuggingFaceVendor as HuggingFaceVendor
    from .builtin import OllamaVendor as OllamaVendor
    from .builtin import OpenAICompatibleVendor as OpenAICompatibleVendor
    from .builtin import OpenAIVendor as OpenAIVendor
    from .builtin import from_environment as from_environment
    from .builtin import how_to_register as how_to_register
    from .builtin import incomplete as incomplete
    from .builtin import nothing_found as nothing_found
    from .builtin import vendor as vendor
    from .chunk_stream import ChunkStream as ChunkStream
    from .config import VendorConfig as VendorConfig
    from .config import VendorSettings as VendorSettings
    from .credentials import check_key as check_key
    from .credentials import misspelt_variables as misspelt_variables
    from .files import UploadedFile as UploadedFile
    from .http import HttpVendor as HttpVendor
    from .protocol import Vendor as Vendor
    from .protocol import VendorInfo as VendorInfo
    from .raw import VendorReply as VendorReply
    from .secrets import PUBLIC_HEADERS as PUBLIC_HEADERS
    from .secrets import Secrets as Secrets
    from .secrets import of_header as of_header
else:
    __getattr__, __dir__ = door(
        __name__,
        {
            "builtin": (
                "AnthropicVendor",
                "AzureOpenAIVendor",
                "from_environment",
                "GoogleVendor",
                "how_to_register",
                "HuggingFaceVendor",
                "incomplete",
                "nothing_found",
                "OllamaVendor",
                "OpenAICompatibleVendor",
                "OpenAIVendor",
                "vendor",
            ),
            "chunk_stream": ("ChunkStream",),
            "config": ("VendorConfig", "VendorSettings"),
            "credentials": ("check_key", "misspelt_variables"),
            "files": ("UploadedFile",),
            "http": ("HttpVendor",),
            "protocol": ("Vendor", "VendorInfo"),
            "raw": ("VendorReply",),
            "secrets": ("of_header", "PUBLIC_HEADERS", "Secrets"),
        },
    )
