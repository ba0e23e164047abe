"""Names that the Hub knows: tasks, libraries, languages. It accepts others in silence, and nobody finds the model by them.

From the npm packages @huggingface/tasks 0.21.54 and @huggingface/languages 1.0.0, which the Hub's own pages are built with.
"""

from __future__ import annotations

_TASKS = """
any-to-any audio-classification audio-text-to-text audio-to-audio automatic-speech-recognition depth-estimation
document-question-answering feature-extraction fill-mask graph-ml image-classification image-feature-extraction
image-segmentation image-text-to-image image-text-to-text image-text-to-video image-to-3d image-to-image
image-to-text image-to-video keypoint-detection mask-generation multiple-choice object-detection other
question-answering reinforcement-learning robotics sentence-similarity summarization table-question-answering
table-to-text tabular-classification tabular-regression tabular-to-text text-classification text-generation
text-ranking text-retrieval text-to-3d text-to-audio text-to-image text-to-speech text-to-video
time-series-forecasting token-classification translation unconditional-image-generation video-classification
video-text-to-text video-to-video visual-document-retrieval visual-question-answering voice-activity-detection
zero-shot-classification zero-shot-image-classification zero-shot-object-detection
"""
#: What ``pipeline_tag`` and the ``task.type`` of a result may be: the whole list.
PIPELINE_TAGS = frozenset(_TASKS.split())

_LIBRARIES = """
PaddleOCR adapter-transformers allennlp bertopic diffusers edsnlp espnet fairseq fastai fasttext flair gemma.cpp
gliner keras keras-hub kernels litert litert-lm llama-cpp-python mamba-ssm mindspore mlc-llm mlx model2vec nemo
paddlenlp peft pruna-ai recurrentgemma relik rkllm rwkv saelens sentence-transformers setfit sklearn spacy
span-marker speechbrain stanza tensorrt tf-keras timm transformers transformers.js
"""
#: What ``library_name`` may be: of the Hub's some 250, those that load text models. A trainer (trl, accelerate) is a tag.
LIBRARY_NAMES = frozenset(_LIBRARIES.split())

#: What ``base_model_relation`` may be: the four that the Hub's model tree has.
BASE_MODEL_RELATIONS = frozenset({"adapter", "finetune", "merge", "quantized"})

_LANGUAGES = """
aa ab ae af ak am an ar as av ay az ba be bg bh bi bm bn bo br bs ca ce ch co cr cs cu cv cy da de dv dz ee el en eo
es et eu fa ff fi fj fo fr fy ga gd gl gn gu gv ha he hi ho hr ht hu hy hz ia id ie ig ii ik io is it iu ja jv ka kg
ki kj kk kl km kn ko kr ks ku kv kw ky la lb lg li ln lo lt lu lv mg mh mi mk ml mn mr ms mt my na nb nd ne ng nl nn
no nr nv ny oc oj om or os pa pi pl ps pt qu rm rn ro ru rw sa sc sd se sg si sk sl sm sn so sq sr ss st su sv sw ta
te tg th ti tk tl tn to tr ts tt tw ty ug uk ur uz ve vi vo wa wo xh yi yo za zh zu
code multilingual jje
"""
#: What ``language`` may be: ISO 639-1, the Hub's own words, and Jeju, Korea's other language.
LANGUAGE_CODES = frozenset(_LANGUAGES.split())
