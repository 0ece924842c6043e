from benchmarks.critical_path import LINES, draw, speed_ups
from models.profiling import measure_profile
from models.resnet import resnet
from models.tearing import interface_factories, paper_n_coarse_units


def test_a_network_of_few_units_has_gaps_and_a_figure(tmp_path):
    network = resnet(29, width=4, input_shape=(1, 8, 12))  # 9 units
    profiles = {}
    for coarse, preprocess, n_coarse_units in (
        ("units", "strided", {paper_n_coarse_units(n) for n in range(1, 10)}),
        ("shortcut", "stem", {0}),
    ):
        c, f = interface_factories(network, preprocess=preprocess, coarse=coarse)
        profiles[coarse] = measure_profile(
            network, preprocess=c, coarse=f, n_coarse_units=n_coarse_units, batch_size=2, repeats=1
        )
    table = speed_ups(network, profiles).set_index("N")
    assert list(table.index) == list(range(2, 10))
    gaps = table[[*LINES]].isna()
    for line in LINES:  # ⌈9 / N⌉ units each leave the last of 4 and of 6 to 8 subnetworks empty
        assert list(table.index[gaps[line]]) == ([4, 6, 7, 8] if "uniform" in line else [])
    assert (table[[*LINES]].min() > 0).all()
    assert table["sizes"].map(lambda sizes: sum(map(int, sizes.split()))).eq(9).all()
    draw(table.reset_index(), tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"speed_up.svg", "speed_up.png"}
