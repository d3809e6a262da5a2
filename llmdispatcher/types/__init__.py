"""The vocabulary: requests, responses, messages and their parts, chunks, usage, prices, JSON schema."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .._lazy import door

if TYPE_CHECKING:
    from .addresses import ServerAddress as ServerAddress
    from .addresses import base_url as base_url
    from .addresses import is_server as is_server
    from .addresses import mask_store as mask_store
    from .addresses import name_in_path as name_in_path
    from .addresses import redis_client as redis_client
    from .addresses import redis_prefix as redis_prefix
    from .addresses import secret_address as secret_address
    from .chunk import ChunkSource as ChunkSource
    from .chunk import Fold as Fold
    from .chunk import StreamChunk as StreamChunk
    from .chunk import ToolCallDelta as ToolCallDelta
    from .chunk import fold as fold
    from .chunk import response_of as response_of
    from .chunk import unfold as unfold
    from .content import AUDIO_FORMATS as AUDIO_FORMATS
    from .content import IMAGE as IMAGE
    from .content import VIDEO as VIDEO
    from .content import Medium as Medium
    from .content import analyze_file as analyze_file
    from .content import analyze_image as analyze_image
    from .content import audio as audio
    from .content import detect_media_type as detect_media_type
    from .content import document as document
    from .content import image as image
    from .content import media_type_of as media_type_of
    from .content import medium_of as medium_of
    from .content import video as video
    from .databases import DatabaseAddress as DatabaseAddress
    from .embeddings import EmbeddingRequest as EmbeddingRequest
    from .embeddings import Embeddings as Embeddings
    from .embeddings import EmbeddingSettings as EmbeddingSettings
    from .extra_params import FIXED as FIXED
    from .extra_params import TokenLimits as TokenLimits
    from .extra_params import check_params as check_params
    from .extra_params import check_written as check_written
    from .extra_params import predictions_in as predictions_in
    from .extra_params import stored_param as stored_param
    from .extra_params import texts_in as texts_in
    from .extra_params import unseen_model as unseen_model
    from .http import HttpCall as HttpCall
    from .http import HttpReply as HttpReply
    from .json_check import SCHEMA_WORDS as SCHEMA_WORDS
    from .json_check import Check as Check
    from .json_check import Late as Late
    from .json_check import mismatch as mismatch
    from .json_check import schema_check as schema_check
    from .json_text import MOST_DEPTH as MOST_DEPTH
    from .json_text import MOST_MEMBERS as MOST_MEMBERS
    from .json_text import MOST_OBJECTS as MOST_OBJECTS
    from .json_text import TooMuch as TooMuch
    from .json_text import count_members as count_members
    from .json_text import has_null as has_null
    from .json_text import json_encoder as json_encoder
    from .json_text import mend as mend
    from .json_text import parse_several as parse_several
    from .json_text import parse_text as parse_text
    from .json_text import repair as repair
    from .keywords import choices as choices
    from .keywords import closest_name as closest_name
    from .keywords import suggest as suggest
    from .message import ROLES as ROLES
    from .message import AudioPart as AudioPart
    from .message import Content as Content
    from .message import Extra as Extra
    from .message import FilePart as FilePart
    from .message import ImagePart as ImagePart
    from .message import Message as Message
    from .message import OtherPart as OtherPart
    from .message import Part as Part
    from .message import ReasoningPart as ReasoningPart
    from .message import TextPart as TextPart
    from .message import Tool as Tool
    from .message import ToolCall as ToolCall
    from .message import VendorTool as VendorTool
    from .message import VideoPart as VideoPart
    from .message import data_url as data_url
    from .message import media_type as media_type
    from .outcome import AttemptRecord as AttemptRecord
    from .outcome import AttemptStart as AttemptStart
    from .outcome import CallContent as CallContent
    from .outcome import CallOrigin as CallOrigin
    from .outcome import CallStart as CallStart
    from .outcome import LimitWarning as LimitWarning
    from .outcome import Listeners as Listeners
    from .outcome import Observer as Observer
    from .outcome import ObserverLike as ObserverLike
    from .outcome import Outcome as Outcome
    from .outcome import ToolResult as ToolResult
    from .outcome import ToolStart as ToolStart
    from .outcome import failure_fields as failure_fields
    from .outcome import split_observers as split_observers
    from .outcome import tell as tell
    from .price import Price as Price
    from .price import cost_details as cost_details
    from .price import cost_of as cost_of
    from .proxies import PROXY_FORM as PROXY_FORM
    from .proxies import proxy_parts as proxy_parts
    from .remote import RemoteFetch as RemoteFetch
    from .remote import is_private_url as is_private_url
    from .request import EFFORTS as EFFORTS
    from .request import CacheControl as CacheControl
    from .request import Request as Request
    from .request import ResponseFormat as ResponseFormat
    from .request import check_request as check_request
    from .request import form_check as form_check
    from .request_fields import ANY_MODEL as ANY_MODEL
    from .request_fields import check_headers as check_headers
    from .request_fields import check_reference as check_reference
    from .request_fields import has_both_parts as has_both_parts
    from .request_fields import is_model_name as is_model_name
    from .response import EXACT as EXACT
    from .response import MOST_COST as MOST_COST
    from .response import MOST_TOKENS as MOST_TOKENS
    from .response import Capabilities as Capabilities
    from .response import Choice as Choice
    from .response import Citation as Citation
    from .response import CostDetails as CostDetails
    from .response import Parsed as Parsed
    from .response import RateLimitRemaining as RateLimitRemaining
    from .response import Response as Response
    from .response import Usage as Usage
    from .response import dollars_text as dollars_text
    from .response import plausible as plausible
    from .response import plausible_cost as plausible_cost
    from .response import replace as replace
    from .schema import ROOT as ROOT
    from .schema import FunctionTool as FunctionTool
    from .schema import bare as bare
    from .schema import fields_of as fields_of
    from .schema import has_fields as has_fields
    from .schema import is_alias as is_alias
    from .schema import is_model as is_model
    from .schema import is_named_tuple as is_named_tuple
    from .schema import is_typed_dict as is_typed_dict
    from .schema import lacks_object as lacks_object
    from .schema import model_adapter as model_adapter
    from .schema import put_into_object as put_into_object
    from .schema import schema_of as schema_of
    from .schema import tool as tool
    from .schema import type_name as type_name
    from .secret import MASK as MASK
    from .secret import Secret as Secret
    from .secret import copy_self as copy_self
    from .secret import refuse_pickling as refuse_pickling
    from .validators import Texts as Texts
    from .validators import Usd as Usd
    from .validators import at_least as at_least
    from .validators import boolean as boolean
    from .validators import build as build
    from .validators import check_file as check_file
    from .validators import integer as integer
    from .validators import mapping as mapping
    from .validators import non_blank as non_blank
    from .validators import non_negative_integer as non_negative_integer
    from .validators import optional_fraction as optional_fraction
    from .validators import optional_model as optional_model
    from .validators import optional_non_blank as optional_non_blank
    from .validators import optional_seconds as optional_seconds
    from .validators import seconds_or_auto as seconds_or_auto
    from .validators import sliding_length as sliding_length
    from .validators import sliding_text as sliding_text
    from .validators import string_tuple as string_tuple
    from .validators import usd_amount as usd_amount
else:
    __getattr__, __dir__ = door(
        __name__,
        {
            "addresses": (
                "ServerAddress",
                "base_url",
                "is_server",
                "name_in_path",
                "redis_client",
                "redis_prefix",
                "secret_address",
                "mask_store",
            ),
            "chunk": ("ChunkSource", "Fold", "fold", "response_of", "StreamChunk", "ToolCallDelta", "unfold"),
            "content": (
                "analyze_file",
                "analyze_image",
                "audio",
                "AUDIO_FORMATS",
                "detect_media_type",
                "document",
                "IMAGE",
                "image",
                "media_type_of",
                "Medium",
                "medium_of",
                "VIDEO",
                "video",
            ),
            "databases": ("DatabaseAddress",),
            "embeddings": ("EmbeddingRequest", "Embeddings", "EmbeddingSettings"),
            "extra_params": (
                "check_params",
                "check_written",
                "FIXED",
                "TokenLimits",
                "predictions_in",
                "stored_param",
                "texts_in",
                "unseen_model",
            ),
            "http": ("HttpCall", "HttpReply"),
            "json_check": ("SCHEMA_WORDS", "Check", "Late", "mismatch", "schema_check"),
            "json_text": (
                "json_encoder",
                "mend",
                "MOST_DEPTH",
                "MOST_MEMBERS",
                "has_null",
                "repair",
                "MOST_OBJECTS",
                "parse_several",
                "parse_text",
                "TooMuch",
                "count_members",
            ),
            "keywords": ("choices", "closest_name", "suggest"),
            "message": (
                "AudioPart",
                "Content",
                "data_url",
                "media_type",
                "Extra",
                "FilePart",
                "ImagePart",
                "Message",
                "OtherPart",
                "Part",
                "ReasoningPart",
                "ROLES",
                "TextPart",
                "Tool",
                "ToolCall",
                "VendorTool",
                "VideoPart",
            ),
            "outcome": (
                "AttemptRecord",
                "AttemptStart",
                "LimitWarning",
                "CallContent",
                "CallOrigin",
                "CallStart",
                "failure_fields",
                "Listeners",
                "Observer",
                "ObserverLike",
                "Outcome",
                "split_observers",
                "tell",
                "ToolResult",
                "ToolStart",
            ),
            "price": ("cost_details", "cost_of", "Price"),
            "proxies": ("PROXY_FORM", "proxy_parts"),
            "remote": ("is_private_url", "RemoteFetch"),
            "request": ("check_request", "CacheControl", "EFFORTS", "form_check", "Request", "ResponseFormat"),
            "request_fields": ("ANY_MODEL", "check_headers", "check_reference", "has_both_parts", "is_model_name"),
            "response": (
                "Capabilities",
                "Choice",
                "Citation",
                "CostDetails",
                "dollars_text",
                "EXACT",
                "MOST_COST",
                "MOST_TOKENS",
                "Parsed",
                "plausible",
                "plausible_cost",
                "RateLimitRemaining",
                "replace",
                "Response",
                "Usage",
            ),
            "schema": (
                "bare",
                "fields_of",
                "FunctionTool",
                "has_fields",
                "is_alias",
                "is_model",
                "is_named_tuple",
                "is_typed_dict",
                "lacks_object",
                "model_adapter",
                "put_into_object",
                "ROOT",
                "schema_of",
                "tool",
                "type_name",
            ),
            "secret": ("MASK", "copy_self", "refuse_pickling", "Secret"),
            "validators": (
                "check_file",
                "at_least",
                "boolean",
                "build",
                "integer",
                "mapping",
                "non_blank",
                "non_negative_integer",
                "optional_fraction",
                "optional_model",
                "sliding_length",
                "sliding_text",
                "optional_non_blank",
                "optional_seconds",
                "seconds_or_auto",
                "string_tuple",
                "Texts",
                "Usd",
                "usd_amount",
            ),
        },
    )
