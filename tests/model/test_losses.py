import torch

from packshot.model.losses import (
    MultiTaskLoss,
    attribute_loss,
    enhance_loss,
    gradient_norm,
    quality_loss,
    ranking_loss,
    ssim,
    style_loss,
)

NAN = float("nan")
WEIGHTS = {"quality": 1.0, "attributes": 0.5, "ranking": 0.25, "style": 1.0, "enhance": 1.0, "gradient_norm": 0.0}


def test_rows_without_a_label_do_not_count():
    predicted = torch.tensor([0.2, 0.9, 0.4], requires_grad=True)
    loss = quality_loss(predicted, torch.tensor([0.3, NAN, 0.4]))
    loss.backward()
    assert predicted.grad[1] == 0 and predicted.grad[0] != 0
    assert torch.allclose(loss.detach(), quality_loss(torch.tensor([0.2, 0.4]), torch.tensor([0.3, 0.4])))


def test_no_label_at_all_is_no_loss():
    nothing = torch.full((2,), NAN)
    assert quality_loss(torch.zeros(2), nothing) is None
    assert attribute_loss(torch.zeros(2, 3), torch.full((2, 3), NAN)) is None
    assert ranking_loss(torch.zeros(2), nothing, torch.zeros(2)) is None
    assert style_loss(torch.zeros(2, 3), torch.tensor([-1, -1]), torch.ones(3), "mlp") is None


def test_ranking_compares_only_within_a_source():
    target, predicted = torch.tensor([0.9, 0.1]), torch.tensor([0.1, 0.9])
    assert ranking_loss(predicted, target, torch.tensor([0, 1])) is None
    assert ranking_loss(predicted, target, torch.tensor([0, 0])) > 0.5
    assert ranking_loss(predicted.flip(0), target, torch.tensor([0, 0])) == 0


def test_style_losses_prefer_the_right_class():
    right, wrong = torch.tensor([[4.0, 0.0]]), torch.tensor([[0.0, 4.0]])
    for kind in ("linear", "svm", "mlp"):
        arguments = (torch.tensor([0]), torch.ones(2), kind)
        assert style_loss(right, *arguments) < style_loss(wrong, *arguments)


def test_enhance_loss_is_least_for_the_same_picture():
    clean = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    assert enhance_loss(clean, clean) < enhance_loss(clean * 0.9, clean) < enhance_loss(clean * 0.5, clean)
    assert torch.allclose(ssim(clean, clean), torch.ones(()))


def test_each_term_counts_relative_to_its_start():
    loss = MultiTaskLoss(WEIGHTS, "fixed")
    loss.start({"quality": torch.tensor(4.0), "style": torch.tensor(0.5)})
    total = loss({"quality": torch.tensor(2.0), "style": torch.tensor(0.5)})
    assert torch.isclose(total, torch.tensor(0.5 + 1.0))


def test_uncertainty_weights_are_learned():
    loss = MultiTaskLoss(WEIGHTS, "uncertainty")
    loss.start({"quality": torch.tensor(1.0)})
    loss({"quality": torch.tensor(3.0)}).backward()
    assert loss.log_variance.grad[0] < 0


def test_the_gradient_norm_is_that_of_the_score_and_can_be_lowered():
    weights = torch.tensor([3.0, 4.0], requires_grad=True)
    inputs = torch.randn(5, 2)
    with torch.no_grad():
        assert torch.allclose(gradient_norm(lambda x: x @ weights, inputs), torch.tensor(5.0))
    gradient_norm(lambda x: x @ weights, inputs).backward()
    assert torch.allclose(weights.grad, torch.tensor([0.6, 0.8]))
    curved = gradient_norm(lambda x: (x**2).sum(dim=1), inputs)
    assert torch.allclose(curved, 2 * inputs.norm(dim=1).mean())
