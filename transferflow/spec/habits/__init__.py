"""Words of Keras, Lightning, fastai, timm, Ultralytics, Hugging Face and OpenMMLab, beside those of a spec.

Only tables; `spec.messages` and `spec.rules` make hints of them.
"""
