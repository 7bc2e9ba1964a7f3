from rcnn_dist.benchmarks import query


def test_every_pass_finds_the_same_rows(monkeypatch):
    monkeypatch.setattr(query, "_SIZE", 8)
    figures = query.run(gigabytes=0.0005, shards=1)
    assert figures["passes"] == 2
    every, few, nearest, *_ = figures["queries"].values()
    assert every["rows"] == 2 * 8 * 2000
    assert 0.2 * 2 * 2000 < few["rows"] < 0.4 * 2 * 2000, "one image of eight, three tenths of its rows"
    assert nearest["rows"] == 20
    assert len(query.lines(figures)) == len(figures["queries"])
