# docker build -t korean-tasks .
# docker run -it --rm -v korean-tasks-cache:/cache -v "$PWD/data:/app/data" -v "$PWD/outputs:/app/outputs" korean-tasks \
#     scripts/run_summarize.py --train_file data/news.csv
# With a GPU and NVIDIA's container toolkit: docker run --gpus all ... On a machine without one the image is much smaller with
# PyTorch's CPU builds: docker build --build-arg PIP_EXTRA_INDEX_URL=(the address that pytorch.org names for them) ...
FROM python:3.12-slim

ARG PIP_EXTRA_INDEX_URL
WORKDIR /app
COPY setup.cfg pyproject.toml constraints.txt README.md LICENSE ./
COPY tasks tasks
COPY model_cards model_cards
COPY scripts scripts
RUN pip install --no-cache-dir -c constraints.txt -e '.[lora,demo]'
# Models and data that are downloaded: a volume keeps them.
ENV HF_HOME=/cache
ENTRYPOINT ["python"]
CMD ["scripts/predict.py", "--help"]
