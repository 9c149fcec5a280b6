import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.upstreams.http_upstream import HttpUpstream
from pipelines.upstreams.listing import Upstreams
from pipelines.upstreams.model_ids import decoded, encoded
from tests.stands.models.stub_model import StubModel
from tests.stands.servers import serve
from tests.stands.waiting import PATIENCE
from webui.guarded.upstream import UpstreamFailed


@given(model=st.text(), place=st.integers(1, 9))
def test_an_encoded_id_can_be_decoded_and_is_safe_in_a_path(model: str, place: int) -> None:
    model = model.encode("utf-8", "ignore").decode()
    assert decoded(encoded(model, place)) == (model, place)
    assert not set(encoded(model, place)) - set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-.:~")


async def test_models_of_several_upstreams_have_ids_that_no_other_upstream_changes() -> None:
    first, second = StubModel(), StubModel()
    second.models = ["qwen/qwen3"]
    with serve(first.app) as one, serve(second.app) as other:
        upstreams = Upstreams([HttpUpstream(f"{url}/v1", None, 5) for url in (one, other)], ["*"], "{model}")
        first.status = 500
        assert not await upstreams.refresh()
        assert [entry["id"] for entry in upstreams.entries] == ["qwen~2Fqwen3~~2"]
        first.status = 200
        assert await upstreams.refresh()
        assert [entry["id"] for entry in upstreams.entries] == ["llama3:8b", "qwen~2Fqwen3", "qwen~2Fqwen3~~2"]
        first.status = 500
        await upstreams.refresh()
        assert len(upstreams.entries) == 3
        found = upstreams.resolve("qwen~2Fqwen3~~2")
        assert found is not None
        assert (found[0].base_url, found[1]) == (f"{other}/v1", "qwen/qwen3")
        await upstreams.aclose()


@pytest.mark.parametrize("entry", ["a~~3", "a~~0", "a~~x", "secret"])
async def test_an_unknown_id_resolves_to_nothing(entry: str) -> None:
    upstreams = Upstreams([HttpUpstream("http://127.0.0.1:1/v1", None, 5)], ["a*"], "{model}")
    assert upstreams.resolve("a") is not None
    assert upstreams.resolve(entry) is None
    await upstreams.aclose()


async def test_an_unreachable_upstream_is_reported_in_words() -> None:
    upstream = HttpUpstream("http://127.0.0.1:1/v1", None, 5)
    with pytest.raises(UpstreamFailed, match="cannot be reached") as raised:
        await upstream.models()
    assert raised.value.status == 502
    await upstream.aclose()


async def test_an_error_of_the_reader_is_not_reported_as_the_servers() -> None:
    model = StubModel()
    with serve(model.app) as url:
        upstream = HttpUpstream(f"{url}/v1", None, 5)

        async def read() -> None:
            async with upstream.stream({"stream": True, "messages": []}) as chunks:
                async for _ in chunks:
                    raise ValueError("ours")

        with pytest.raises(ValueError, match="ours"):
            await read()
        await upstream.aclose()


async def test_a_chat_of_megabytes_reaches_the_upstream_whole() -> None:
    model = StubModel()
    messages = [{"role": "user", "content": "面包😀" * 100_000}]
    with serve(model.app) as url:
        upstream = HttpUpstream(f"{url}/v1", None, PATIENCE)
        await upstream.complete({"model": model.models[0], "messages": messages})
        await upstream.aclose()
    assert model.requests[-1]["messages"] == messages
